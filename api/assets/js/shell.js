/* What every page does: times in the visitor's own zone, keys of forms, and the state of the service in the header. */

import { randomKey } from "./keys.js";

const CHECK_EVERY_MS = 30_000;
const STATES = { no_worker: ["down", "No model worker"], queue_full: ["busy", "Busy"] };

const status = document.getElementById("status");

for (const time of document.querySelectorAll("time[datetime]")) localize(time);
// A page that the browser has kept may have its forms sent again, for another order.
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const field of document.getElementsByName("idempotency_key")) field.value = randomKey();
});
setInterval(() => { if (!document.hidden) check(); }, CHECK_EVERY_MS);

/** Write a time as in the visitor's country, with the zone. */
export function localize(time) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  time.title = time.textContent;
  time.textContent = moment.toLocaleString([], {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
}

async function check() {
  let state = ["down", "Not reachable"];
  try {
    const answer = await fetch(status.dataset.ready, { headers: { Accept: "application/json, application/problem+json" } });
    state = answer.ok ? ["ready", "Ready"] : STATES[(await answer.json()).code] ?? ["down", "Not ready"];
  } catch {
    // It stays as it is: not reachable.
  }
  [status.dataset.state, document.getElementById("status-words").textContent] = state;
}
