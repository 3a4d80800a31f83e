/* "That's wrong": which answer, and what the image really shows. */

import { randomKey } from "./keys.js";
import { fetchLabels, sendReport, withdrawReport } from "./service.js";
import { spoken } from "./words.js";

const form = document.getElementById("report-form");
const field = document.getElementById("report-label");
const keys = new Map(); // one for each report, so that sending it again adds nothing

// A thousand names are fetched when a visitor is about to type one.
if (document.activeElement === field) offerLabels();
else field.addEventListener("focus", offerLabels, { once: true });

/** Report the answer to a look, or the one that the server rendered; give the report's id once it is kept. */
export async function report(look, { isUnsure }) {
  const predictionId = look ? look.answer.prediction_id : form.dataset.predictionId;
  const label = isUnsure ? "" : field.value.trim();
  return (await sendReport(form.action, { prediction_id: predictionId, label }, keyOf(`${predictionId} ${label}`))).report_id;
}

/** Take a report back. */
export async function withdraw(reportId) {
  await withdrawReport(`${form.action}/${encodeURIComponent(reportId)}`);
  keys.clear(); // the same report, sent again, is another one
}

async function offerLabels() {
  const labels = await fetchLabels(form.dataset.labels);
  document.getElementById("labels").replaceChildren(...labels.map((label) => new Option("", spoken(label))));
}

function keyOf(said) {
  if (!keys.has(said)) keys.set(said, randomKey());
  return keys.get(said);
}
