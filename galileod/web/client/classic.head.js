(function () {
"use strict";
const GALILEO_BASE = new URL(".", document.currentScript?.src || document.baseURI).href;

