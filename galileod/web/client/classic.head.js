(function () {
"use strict";
const GALILEO_BASE = document.currentScript?.src || document.baseURI;
const galileoFiles = () => filesBeside(new URL("hash_worker.js", GALILEO_BASE));

