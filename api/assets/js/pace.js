/* How many images are sent at the same time: more while the service answers, fewer, and later, when it is busy. */

const FIRST = 2;
// Browsers open six connections to one host.
const MOST = 6;

let limit = FIRST;
let resumeAt = 0;
let wake = () => {};

/** How many images may be under way now. */
export function room() {
  return secondsLeft() > 0 ? 0 : Math.floor(limit);
}

/** Note that an image was answered. */
export function answered() {
  limit = Math.min(MOST, limit + 1 / limit);
}

/** Note that the service is busy for so many seconds: nothing is sent before that. */
export function refused(seconds) {
  // Those that were sent together are refused together, and that is one refusal.
  if (secondsLeft() === 0) limit = Math.max(1, limit / 2);
  resumeAt = Math.max(resumeAt, performance.now() + seconds * 1000);
}

/** End the pause now. */
export function resume() {
  resumeAt = 0;
  wake();
}

/** Wait until the pause is over; `onSecond` hears every second how many are left, of how many. */
export async function pause(onSecond) {
  for (let total = secondsLeft(), left = total; left > 0; left = secondsLeft()) {
    onSecond(left, Math.max(total, left));
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, 1000);
    });
  }
}

function secondsLeft() {
  return Math.max(0, Math.ceil((resumeAt - performance.now()) / 1000));
}
