const GALILEO_BASE = new URL(".", import.meta.url).href;

