/* Before the modules of a page run: the browser would open a file that is dropped then. They take it from here. */

globalThis.droppedEarly = [];
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  globalThis.droppedEarly?.push(...event.dataTransfer.files);
});
