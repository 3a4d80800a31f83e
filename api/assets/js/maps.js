/* Where did it look? A map over an image, in a frame that is as large as the image. */

import { fetchImage } from "./service.js";

// What makes maps is loaded by the first request for one, which takes as long as the machine is busy.
const LONGEST_WAIT_MS = 60_000;

const wanted = new WeakMap(); // for each frame, whose map is shown or on its way

/** Lay the map at this address over the frame's image, or take it away; true once it is seen. */
export async function toggleMap(frame, button, url) {
  const isWanted = wanted.get(frame)?.button === button;
  liftMap(frame);
  if (isWanted) return false;
  const turn = { button };
  wanted.set(frame, turn);
  button.ariaBusy = "true";
  try {
    const map = await loadedMap(url, () => wanted.get(frame) === turn);
    if (wanted.get(frame) !== turn) return false; // meanwhile there is another image, or another map was requested
    frame.append(map);
    button.ariaPressed = "true";
    return true;
  } catch (error) {
    if (wanted.get(frame) !== turn) return false;
    wanted.delete(frame);
    throw error;
  } finally {
    if (wanted.get(frame) === turn || wanted.get(frame)?.button !== button) button.ariaBusy = null;
  }
}

/** Take a map away, also one that is on its way; true if there was one. */
export function liftMap(frame) {
  const turn = wanted.get(frame);
  if (!turn) return false;
  wanted.delete(frame);
  turn.button.ariaPressed = "false";
  turn.button.ariaBusy = null;
  frame.querySelector(".map")?.remove();
  return true;
}

async function loadedMap(url, isWanted) {
  const address = URL.createObjectURL(await fetchPatiently(url, isWanted));
  const map = new Image();
  map.className = "map";
  map.alt = "";
  map.src = address;
  try {
    await map.decode();
  } finally {
    URL.revokeObjectURL(address);
  }
  return map;
}

// The first map of a worker has to wait until what makes it is loaded.
async function fetchPatiently(url, isWanted) {
  const until = performance.now() + LONGEST_WAIT_MS;
  while (true) {
    try {
      return await fetchImage(url);
    } catch (error) {
      if (!error.retryAfter || !isWanted() || performance.now() > until) throw error;
      await new Promise((resolve) => { setTimeout(resolve, error.retryAfter * 1000); });
    }
  }
}
