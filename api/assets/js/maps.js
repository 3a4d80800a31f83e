/* Where did it look? A map over a picture, in a frame that is as large as the picture. */

import { fetchPicture } from "./service.js";

const MOST_ATTEMPTS = 8;

/** Lay the map at this address over the frame's picture; resolves once it is seen. */
export async function layMap(frame, url) {
  const address = URL.createObjectURL(await fetchPatiently(url));
  const map = new Image();
  map.className = "map";
  map.alt = "";
  map.src = address;
  try {
    await map.decode();
  } finally {
    URL.revokeObjectURL(address);
  }
  liftMap(frame);
  frame.append(map);
}

/** Take it away. */
export function liftMap(frame) {
  frame.querySelector(".map")?.remove();
}

// The first map of a worker has to wait until what makes it is loaded.
async function fetchPatiently(url) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fetchPicture(url);
    } catch (trouble) {
      if (!trouble.retryAfter || attempt === MOST_ATTEMPTS) throw trouble;
      await new Promise((resolve) => { setTimeout(resolve, trouble.retryAfter * 1000); });
    }
  }
}
