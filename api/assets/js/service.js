/* Requests to the service: classify an image, list the labels, save a report. */

import { PageError, stopped } from "./errors.js";

const TOP_K = 5;
// The service answers by its own timeout, with an error if need be; a connection silent for longer is lost.
const ANSWER_TIMEOUT_MS = 1000 * document.body.dataset.answerTimeoutS;
const DEFAULT_RETRY_S = 2;

const UNREACHABLE = "The service cannot be reached. Check the connection, then try again.";

/**
 * Classify the image. `onSent` receives the share of the upload that is done, from 0 to 1.
 * XMLHttpRequest, since fetch does not report the progress of an upload.
 */
export function predict(url, file, { onSent, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("file", file, file.name);
    let patience = null;
    request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
    request.upload.onload = () => {
      onSent(1);
      patience = setTimeout(() => request.abort(), ANSWER_TIMEOUT_MS);
    };
    request.onload = () => settle(request, resolve, reject);
    request.onerror = () => reject(new PageError(UNREACHABLE));
    request.onabort = () => reject(signal.aborted ? stopped() : new PageError("No answer came. Try again."));
    request.onloadend = () => clearTimeout(patience);
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", `${url}?top_k=${TOP_K}`);
    request.setRequestHeader("Accept", "application/json, application/problem+json");
    request.send(body);
  });
}

/** Send a report, and give what was kept. The same one under the same key is kept once. */
export async function sendReport(url, report, key) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key, Accept: "application/json" };
  return (await fetched(url, { method: "POST", headers, body: JSON.stringify(report) })).json();
}

/** Take a report back. */
export async function withdrawReport(url) {
  await fetched(url, { method: "DELETE", headers: { Accept: "application/json" } });
}

/** Keep a reviewer's decision about some images, and give what became of each. */
export async function decideImages(url, decision) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return (await fetched(url, { method: "POST", headers, body: JSON.stringify(decision) })).json();
}

/** Keep an image as an example of a class, and give what the model says of it. */
export async function addExample(url, label, file) {
  const body = new FormData();
  body.append("label", label);
  body.append("file", file, file.name);
  const answer = await (await fetched(url, { method: "POST", headers: { Accept: "application/json" }, body })).json();
  const [example] = answer.examples;
  if (!example.success) throw new PageError(example.error);
  return example;
}

/** An order of the trainer, with how far it is. */
export function fetchOrder(url) {
  return fetchJson(url);
}

/** A document of the service. */
export async function fetchJson(url) {
  return (await fetched(url, { headers: { Accept: "application/json" } })).json();
}

/** The model's labels; none where they cannot be had. */
export async function fetchLabels(url) {
  try {
    return (await (await fetched(url)).json()).labels;
  } catch {
    return [];
  }
}

/** The bytes of an image. */
export async function fetchImage(url) {
  return (await fetched(url, { headers: { Accept: "image/*, application/problem+json" } })).blob();
}

async function fetched(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new PageError(UNREACHABLE);
  }
  if (!response.ok) throw errorOf(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

function settle(request, resolve, reject) {
  const answer = parsed(request.responseText);
  if (request.status === 200 && answer.success) resolve(withPredictions(answer));
  else reject(errorOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
}

function withPredictions(answer) {
  const single = [{ label: answer.prediction, score: answer.score }];
  return { ...answer, predictions: answer.predictions?.length ? answer.predictions : single };
}

function errorOf(status, text, retryAfterHeader) {
  const problem = parsed(text);
  const retryAfter = secondsOf(retryAfterHeader) ?? (status === 503 ? DEFAULT_RETRY_S : null);
  const message = problem.detail || problem.title || messageOf(status);
  return new PageError(message, { status, code: problem.code ?? "", retryAfter });
}

function messageOf(status) {
  if (status === 400) return "The service could not use that file. Choose a photograph, such as a JPEG or PNG.";
  if (status === 413) return "The image is too large.";
  if (status === 503) return "The service is busy.";
  return `The service answered with status ${status}. Try again in a moment.`;
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

// The header holds seconds or a date.
function secondsOf(header) {
  if (!header) return null;
  const given = Number(header);
  const wanted = Number.isNaN(given) ? (Date.parse(header) - Date.now()) / 1000 : given;
  return Number.isNaN(wanted) ? null : Math.max(1, Math.ceil(wanted));
}
