// Run in a page: sends what galileo-conformance client --listen asks for, with galileo.js.
// `kit` is the address of the kit, `client` that of galileo.js.
async ({ kit, client }) => {
  const { upload } = await import(client);
  for (;;) {
    const task = await (await fetch(`${kit}next`)).json();
    if (task.end) return;
    if (task.again) continue;
    const file = new File([await (await fetch(task.file)).blob()], task.name);
    const report = { success: false, error: "" };
    try {
      await upload({ url: task.url, file }).done;
      report.success = true;
    } catch (error) {
      report.error = String(error.message);
    }
    await fetch(task.result, { method: "POST", body: JSON.stringify(report) });
  }
}
