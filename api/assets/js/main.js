/* One look after the other: prepare the picture, ask, wait where told to, show. */

import * as history from "./history.js";
import { prepare, scaledDown } from "./picture.js";
import { report } from "./report.js";
import { predict } from "./service.js";
import { listen } from "./sources.js";
import * as stage from "./stage.js";
import { Trouble, stopped } from "./trouble.js";

const MOST_ATTEMPTS = 6;
const LONGEST_WAIT_S = 20;

const part = (id) => document.getElementById(id);
const predictUrl = part("stage").dataset.predict;
const maxBytes = Number(part("stage").dataset.maxUploadBytes);

const waiting = []; // looks that have not begun
let running = null; // the AbortController of the look under way
let shown = null; // the look on the stage
let skipWait = () => {};

stage.enhance();
listen({ onFiles: take, onNothing: stage.showNotice });
part("stop").addEventListener("click", () => running?.abort());
part("try-now").addEventListener("click", () => skipWait());
part("try-again").addEventListener("click", () => enqueue([shown]));
part("guesses").addEventListener("click", ({ target }) => {
  const filename = shown ? shown.answer.filename : part("stage").dataset.filename;
  if (target.matches(".guess-map")) stage.toggleMap(target, filename);
});
part("report-form").addEventListener("submit", reportShown);

function take(files) {
  enqueue(files.map((original) => ({ original, address: "", isReported: false })));
}

async function enqueue(looks) {
  waiting.push(...looks);
  while (waiting.length && !running) await run(waiting.shift());
}

async function run(look) {
  running = new AbortController();
  stage.showNotice("");
  look.trouble = null;
  try {
    await begin(look);
    await ask(look, running.signal);
  } catch (error) {
    look.trouble = error instanceof Trouble ? error : new Trouble("Something unforeseen happened. Try again.");
    if (look.trouble !== error) console.error(error);
  } finally {
    running = null;
    show(look);
  }
}

async function begin(look) {
  shown = look;
  stage.showPicture(look.address, look.original.name);
  stage.showBusy("Opening", look.original.name);
  if (!look.address) Object.assign(look, await prepare(look.original, maxBytes));
  look.address ||= URL.createObjectURL(look.file);
  stage.showPicture(look.address, look.original.name);
}

// Asks again when the service says that waiting helps, and once more, smaller, when the picture is too large for it.
async function ask(look, signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await askOnce(look, signal);
      return;
    } catch (trouble) {
      if (signal.aborted || attempt === MOST_ATTEMPTS) throw trouble;
      if (trouble.isTooLarge && !look.isScaled) {
        Object.assign(look, await scaledDown(look.file, maxBytes), { isScaled: true });
      } else if (trouble.retryAfter && trouble.retryAfter <= LONGEST_WAIT_S) {
        await countDown(trouble, signal);
      } else {
        throw trouble;
      }
    }
  }
}

async function askOnce(look, signal) {
  if (signal.aborted) throw stopped();
  const { name } = look.original;
  const onSent = (share) => {
    if (share < 1) stage.showBusy("Sending", name, share);
    else stage.showBusy("Looking", name);
  };
  onSent(0);
  const started = performance.now();
  look.answer = await predict(predictUrl, look.file, { onSent, signal });
  look.elapsedMs = performance.now() - started;
}

async function countDown({ message, retryAfter }, signal) {
  let isOver = false;
  for (let left = retryAfter; left > 0 && !isOver; left -= 1) {
    stage.showWaiting(message, left, retryAfter);
    await new Promise((resolve) => {
      const end = () => {
        isOver = true;
        resolve();
      };
      setTimeout(resolve, 1000);
      signal.addEventListener("abort", end);
      skipWait = end;
    });
  }
  if (signal.aborted) throw stopped();
}

function show(look) {
  shown = look;
  stage.showPicture(look.address, look.original.name);
  if (look.address) history.remember(look, show);
  history.mark(look);
  if (look.trouble) stage.showTrouble(look.trouble, { canRetry: Boolean(look.file) && look.trouble.mayPass });
  else stage.showAnswer(look);
}

async function reportShown(event) {
  event.preventDefault();
  const look = shown; // none where the server rendered the answer
  try {
    await report(look, { isUnsure: event.submitter === part("report-unsure") });
  } catch (trouble) {
    stage.showReportTrouble(trouble);
    return;
  }
  if (look) look.isReported = true;
  if (look === shown) stage.showReport({ isReported: true });
}
