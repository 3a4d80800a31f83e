// Keeps the live panels of the operator's page up to date: the page is fetched again, and its panels replace these.

const EVERY_MS = 5000;
const live = document.getElementById("live");

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!response.ok) throw new Error(`${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const panels = document.querySelectorAll("[data-live]");
  page.querySelectorAll("[data-live]").forEach((panel, at) => {
    // The keyboard focus stays in its panel.
    if (!panels[at].contains(document.activeElement)) panels[at].replaceChildren(...panel.childNodes);
  });
  document.getElementById("as-of").firstChild.replaceWith(page.getElementById("as-of").firstChild);
  live.textContent = ", updated every 5 seconds";
}

async function repeat() {
  if (!document.hidden) {
    try {
      await refresh();
    } catch {
      live.textContent = ", not updated: the service did not answer";
    }
  }
  setTimeout(repeat, EVERY_MS);
}

live.hidden = false;
setTimeout(repeat, EVERY_MS);
