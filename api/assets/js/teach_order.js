/* The page of an order while it is done: how far it is, until there is an outcome to show. */

import { fetchOrder } from "./service.js";

const EVERY_MS = 700;

const order = document.getElementById("order");
const line = document.getElementById("order-line");
const bar = document.getElementById("order-bar");
const left = document.getElementById("order-left");

follow();

async function follow() {
  for (;;) {
    try {
      const now = await fetchOrder(order.dataset.order);
      if (now.state === "done" || now.state === "failed") {
        location.reload();
        return;
      }
      show(now);
    } catch (error) {
      left.textContent = error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

function show(now) {
  say(line, lineOf(now));
  if (now.step) {
    bar.max = Math.max(1, now.steps);
    bar.value = now.step - 1 + (now.count ? now.done / now.count : 0);
  }
  const time = now.left_s >= 1 ? `, about ${Math.round(now.left_s)} s left in this step` : "";
  const inStep = now.count ? `${now.done} of ${now.count}${time}` : "";
  const inAll = now.total_left_s >= 1 ? `about ${Math.round(now.total_left_s)} s left in all` : "";
  left.textContent = [inStep, inStep ? inAll : capitalised(inAll)].filter(Boolean).join("; ");
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function lineOf(now) {
  if (now.state === "queued") return "It waits for the trainer.";
  if (!now.what) return now.attempt > 1 ? "The trainer begins, for the second time." : "The trainer begins.";
  return `Step ${now.step} of ${now.steps}: ${now.what}`;
}

// A screen reader reads each change aloud.
function say(element, text) {
  if (element.textContent.trim() !== text) element.textContent = text;
}
