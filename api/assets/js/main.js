/* From files to answers: several are in progress at the same time, as many as the service accepts, and each has a tile. */

import * as album from "./album.js";
import * as camera from "./camera.js";
import { prepare, scaledDown } from "./image.js";
import * as pace from "./pace.js";
import { report, withdraw } from "./report.js";
import { predict } from "./service.js";
import * as sharing from "./sharing.js";
import { listen } from "./sources.js";
import * as stage from "./stage.js";
import { PageError, stopped } from "./errors.js";
import { failures } from "./words.js";

const MOST_ATTEMPTS = 6;
const LONGEST_WAIT_S = 60;
// While several images are in progress, the stage shows another one at most this often.
const NEXT_IMAGE_MS = 700;

const part = (id) => document.getElementById(id);
const predictUrl = part("stage").dataset.predict;
const maxBytes = Number(part("stage").dataset.maxUploadBytes);
const formats = part("stage").dataset.formats.split(" ");

const waiting = []; // images to be sent, or sent again
const running = new Map(); // images in progress, each with its AbortController
let batch = []; // the images since the page was idle
let shown = null; // the look on the stage; none while it shows how far a batch is
let isPicked = false; // whether the visitor has chosen it
let isPausing = false;
let imageShownAt = 0;

stage.enhance();
sharing.enhance(() => shown);
camera.enhance({ onFile: (file) => take([file]), onFault: stage.showNotice });
album.enhance({ onPick: pick, onStop: stop, onAgain: enqueue });
listen({ onFiles: take, onNothing: stage.showNotice });
part("stop").addEventListener("click", stop);
part("try-now").addEventListener("click", pace.resume);
part("try-again").addEventListener("click", () => enqueue([shown]));
part("predictions").addEventListener("click", ({ target }) => {
  const filename = shown ? shown.answer.filename : part("stage").dataset.filename;
  if (target.matches(".prediction-map")) stage.toggleMap(target, filename);
});
part("report-form").addEventListener("submit", reportShown);
part("report-undo").addEventListener("click", withdrawShown);

function take(files) {
  enqueue(files.map((original) => ({ original, address: "", state: "waiting", attempts: 0, reportId: "" })));
}

function enqueue(looks) {
  camera.close();
  stage.showNotice("");
  if (!batch.length) isPicked = false;
  for (const look of looks) Object.assign(look, { state: "waiting", error: null, attempts: 0 });
  batch.push(...looks);
  waiting.push(...looks);
  album.add(looks);
  if (batch.length > 1 && !isPicked) shown = null;
  pump();
}

function pump() {
  while (waiting.length && running.size < pace.room()) run(waiting.shift());
  if (waiting.length && !running.size && !isPausing && pace.room() === 0) pauseThenPump();
  if (waiting.length || running.size || !batch.length) showProgress();
  else finish();
}

async function pauseThenPump() {
  isPausing = true;
  await pace.pause((left, total) => {
    if (!waiting.length) pace.resume();
    else if (!isPicked || waiting.includes(shown)) stage.showWaiting(waiting[0].refusal, left, total);
  });
  isPausing = false;
  pump();
}

function showProgress() {
  if (batch.length < 2 || isPicked || isPausing) return;
  const done = batch.filter(isDone).length;
  stage.showBusy("Looking", `${done} of ${batch.length}`, done / batch.length);
}

function finish() {
  const looks = batch;
  batch = [];
  if (!isPicked) show(looks.find(({ answer, error }) => answer && !error) ?? looks[0]);
  if (looks.length > 1) stage.showNotice(failures(looks));
}

function isDone({ state }) {
  return state === "answered" || state === "failed";
}

// Waiting images are stopped as well, and can be resumed.
function stop() {
  for (const look of waiting.splice(0)) end(look, stopped());
  for (const controller of running.values()) controller.abort();
  pace.resume();
  pump();
}

async function run(look) {
  const controller = new AbortController();
  running.set(look, controller);
  look.state = "busy";
  look.attempts += 1;
  album.refresh(look);
  try {
    await begin(look);
    await ask(look, controller.signal);
    pace.answered();
    end(look, null);
  } catch (error) {
    if (!controller.signal.aborted && mayWait(look, error)) wait(look, error);
    else end(look, error instanceof PageError ? error : unforeseen(error));
  } finally {
    running.delete(look);
    if (look === shown && isDone(look)) show(look);
    pump();
  }
}

function unforeseen(error) {
  console.error(error);
  return new PageError("Something unforeseen happened. Try again.");
}

function mayWait(look, { retryAfter }) {
  return retryAfter && retryAfter <= LONGEST_WAIT_S && look.attempts < MOST_ATTEMPTS;
}

function wait(look, { message, retryAfter }) {
  pace.refused(retryAfter);
  Object.assign(look, { state: "waiting", refusal: message });
  waiting.unshift(look);
  album.refresh(look);
}

function end(look, error) {
  Object.assign(look, { error, state: error ? "failed" : "answered" });
  album.refresh(look);
}

async function begin(look) {
  const isAlone = batch.length === 1;
  if (isAlone) {
    shown = look;
    stage.showImage(look.address, look.original.name);
    stage.showBusy("Opening", look.original.name);
  }
  if (!look.address) {
    Object.assign(look, await prepare(look.original, { maxBytes, formats }));
    look.address = URL.createObjectURL(look.file);
    album.refresh(look);
  }
  if (look === shown) stage.showImage(look.address, look.original.name);
  if (isAlone) stage.bringIntoView();
  else if (!isPicked && !shown) showNow(look);
}

function showNow(look) {
  if (performance.now() - imageShownAt < NEXT_IMAGE_MS) return;
  imageShownAt = performance.now();
  stage.showImage(look.address, look.original.name);
}

// Again, smaller, when the image is too large for the service.
async function ask(look, signal) {
  try {
    await askOnce(look, signal);
  } catch (error) {
    if (signal.aborted || !error.isTooLarge || look.isScaled) throw error;
    Object.assign(look, await scaledDown(look.file, maxBytes), { isScaled: true });
    await askOnce(look, signal);
  }
}

async function askOnce(look, signal) {
  if (signal.aborted) throw stopped();
  const { name } = look.original;
  const onSent = (share) => {
    if (look !== shown) return; // another image is shown meanwhile
    if (share < 1) stage.showBusy("Sending", name, share);
    else stage.showBusy("Looking", name);
  };
  onSent(0);
  const started = performance.now();
  look.answer = await predict(predictUrl, look.file, { onSent, signal });
  look.elapsedMs = performance.now() - started;
}

function pick(look) {
  isPicked = true;
  show(look);
  stage.bringIntoView();
}

function show(look) {
  shown = look;
  stage.showImage(look.address, look.original.name);
  album.mark(look);
  if (look.error) stage.showError(look.error, { canRetry: look.error.isStop || (look.file && look.error.mayPass) });
  else if (look.answer) stage.showAnswer(look);
  else stage.showBusy(look.state === "busy" ? "Looking" : "Waiting", look.original.name);
}

async function reportShown(event) {
  event.preventDefault();
  const look = shown; // none where the server rendered the answer
  const isUnsure = event.submitter === part("report-unsure");
  if (!isUnsure && !part("report-label").value.trim()) {
    stage.askForLabel();
    return;
  }
  const target = look ?? {};
  try {
    target.reportId = await report(look, { isUnsure });
  } catch (error) {
    if (look === shown) stage.showReportError("The report was not saved.", error);
    return;
  }
  part("report-form").dataset.reportId = target.reportId;
  if (look === shown) stage.showReport(target);
}

async function withdrawShown() {
  const look = shown;
  try {
    await withdraw(look?.reportId ?? part("report-form").dataset.reportId);
  } catch (error) {
    if (look === shown) stage.showReportError("The report stays.", error);
    return;
  }
  if (look) look.reportId = "";
  if (look === shown) stage.showReport({ reportId: "", isWithdrawn: true });
}
