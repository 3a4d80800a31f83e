/* The ways in: choose, photograph, drop, paste, and samples. Each ends in onFiles(list of File). */

import { fetchImage } from "./service.js";

/** Listen to all of them. `onNothing` hears, in words, of a drop or paste that held no image. */
export function listen({ onFiles, onNothing }) {
  choosing(document.getElementById("file"), onFiles);
  choosing(document.getElementById("camera"), onFiles);
  dropping(onFiles, onNothing);
  pasting(onFiles, onNothing);
  trying(onFiles, onNothing);
}

function choosing(input, onFiles) {
  const take = () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be chosen again
    if (files.length) onFiles(files);
  };
  input.addEventListener("change", take);
  take(); // what was chosen while this script was loaded
}

// The whole page is the target: visitors need not aim.
function dropping(onFiles, onNothing) {
  const dragging = (on) => document.documentElement.classList.toggle("dragging", on);
  document.addEventListener("dragover", () => dragging(true));
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) dragging(false);
  });
  document.addEventListener("drop", (event) => {
    dragging(false);
    const files = [...event.dataTransfer.files];
    if (files.length) onFiles(files);
    else onNothing("That was not a file. Save the image first, or copy it and paste it here.");
  });
  const early = globalThis.droppedEarly;
  globalThis.droppedEarly = null;
  if (early.length) onFiles(early);
}

function pasting(onFiles, onNothing) {
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("textarea, input:not([type=file])")) return;
    const files = [...event.clipboardData.files];
    if (files.length) onFiles(files);
    else onNothing("The clipboard holds no image. Copy an image first, then paste it here.");
  });
}

function trying(onFiles, onNothing) {
  document.getElementById("samples")?.addEventListener("click", async (event) => {
    const address = event.target.closest("button")?.dataset.image;
    if (!address) return;
    event.preventDefault();
    try {
      const content = await fetchImage(address);
      onFiles([new File([content], address.split("/").at(-1), { type: content.type })]);
    } catch (error) {
      onNothing(error.message);
    }
  });
}
