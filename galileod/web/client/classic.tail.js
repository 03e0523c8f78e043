
globalThis.GalileoSend = GalileoSend;
})();
