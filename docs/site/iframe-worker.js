// Browsers start no worker for a page opened from disk. There, run the search worker in a hidden frame instead.
if (location.protocol === "file:") {
  const load = (frame, url) =>
    new Promise((resolve, reject) => {
      const script = frame.contentDocument.createElement("script");
      script.onload = resolve;
      script.onerror = reject;
      script.src = url;
      frame.contentDocument.body.append(script);
    });

  window.Worker = class extends EventTarget {
    #frame;
    #loaded;

    constructor(url) {
      super();
      this.#frame = document.createElement("iframe");
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const scope = this.#frame.contentWindow;
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      scope.importScripts = (...urls) => urls.reduce((before, each) => before.then(() => load(this.#frame, each)), Promise.resolve());
      this.#loaded = load(this.#frame, new URL(url, location.href).href);
    }

    postMessage(data) {
      const scope = this.#frame.contentWindow;
      this.#loaded.then(() => scope.dispatchEvent(new scope.MessageEvent("message", { data })));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
