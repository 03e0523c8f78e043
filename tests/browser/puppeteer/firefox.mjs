// node firefox.mjs PROGRAM: starts this Firefox, and performs a scenario for each line of the
// standard input until that ends. A line is a JSON object: the name of the `scenario`, the `base`
// address and the paths of `files`. The answer is a line with the `result` or an `error`, and with
// all `complaints` of the browser about the page.

import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const DEADLINE = 30_000; // ms for anything that is sure to happen

const scenarios = {
  /** The upload page: the name and status in each row, once all uploads have ended. */
  async page(page, base, files) {
    await page.goto(`${base}/`);
    await choose(page, "#files", files);
    await page.waitForFunction(
      (count) => {
        const ended = ":is([data-state=stored], [data-state=failed], [data-state=cancelled])";
        return document.querySelectorAll(`#uploads > ${ended}`).length === count;
      },
      {},
      files.length,
    );
    return page.$$eval("#uploads > li", (rows) =>
      rows.map((row) => [".name", ".status"].map((each) => row.querySelector(each).textContent)),
    );
  },

  /** The module: the receipt of the first file from `upload`, and of the others from `uploadAll`. */
  async client(page, base, files) {
    await page.goto(`${base}/healthz`); // a page with no script
    await page.evaluate(() => {
      document.body.innerHTML = '<input type="file" multiple>';
    });
    await choose(page, "input", files);
    return page.evaluate(async () => {
      const { upload, uploadAll } = await import("/galileo.js");
      const [first, ...others] = document.querySelector("input").files;
      const receipt = await upload({ url: "/upload", file: first });
      const results = await uploadAll({ url: "/upload", files: others }).done;
      return [receipt, ...results.map((each) => (each instanceof Error ? String(each) : each))];
    });
  },
};

async function choose(page, selector, files) {
  const input = await page.$(selector);
  await input.uploadFile(...files);
}

/** Perform a scenario in a tab that shares nothing with others. */
async function perform({ scenario, base, files }) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  const answer = { complaints: [] };
  const complain = (what) => answer.complaints.push(what);
  page.on("console", (message) => {
    if (["error", "warn", "assert"].includes(message.type())) complain(message.text());
  });
  page.on("pageerror", (error) => complain(error.message)); // also of what the policy forbids
  page.on("requestfailed", (request) => complain(`No answer: ${request.url()}`));
  page.on("response", (response) => {
    // Firefox asks for the icon of a page that names none.
    if (response.status() < 400 || response.url() === `${base}/favicon.ico`) return;
    complain(`Status ${response.status()}: ${response.url()}`);
  });
  try {
    answer.result = await scenarios[scenario](page, base, files);
    await page.evaluate("0"); // whatever is on its way arrives before the answer
  } catch (error) {
    answer.error = error.stack;
  }
  await context.close();
  return answer;
}

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.argv[2],
  timeout: DEADLINE,
  protocolTimeout: DEADLINE,
});
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await perform(JSON.parse(line))));
}
await browser.close();
