/* The page of the API: copy buttons, sections opened by their link, and a request to try. */

const section = document.getElementById("try");
const form = document.getElementById("try-form");
const sample = document.getElementById("try-sample");
const topK = document.getElementById("try-top-k");
const request = document.getElementById("try-request");
const response = document.getElementById("try-response");

for (const example of document.querySelectorAll(".docs-snippet")) addCopyButton(example);
addEventListener("hashchange", openTarget);
openTarget();

if (sample.options.length) {
  section.hidden = false;
  // Below the sample requests; the description before it is the same for everyone.
  document.getElementById("classify").closest("section").after(section);
  for (const field of [sample, topK]) field.addEventListener("input", showRequest);
  form.addEventListener("submit", send);
  showRequest();
} else {
  document.querySelector('a[href="#try"]')?.closest("li").remove();
}

function addCopyButton(example) {
  const button = document.createElement("button");
  button.className = "button button-quiet docs-copy";
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${example.querySelector(".docs-snippet-title").textContent}`);
  button.addEventListener("click", async () => {
    await copy(example.querySelector("code"));
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  example.prepend(button);
}

/** Copy the text of an element; by selection where the page is not served by HTTPS or from this machine. */
async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
}

/** Open the section that the address names, since browsers differ in that. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

function address() {
  return topK.value ? `${section.dataset.predict}?top_k=${encodeURIComponent(topK.value)}` : section.dataset.predict;
}

function showRequest() {
  const file = sample.value.split("/").pop();
  request.firstElementChild.textContent = `curl -T examples/${file} '${new URL(address(), location.href)}'`;
}

async function send(event) {
  event.preventDefault();
  response.hidden = false;
  const text = response.firstElementChild;
  text.textContent = "Sending…";
  try {
    const image = await (await fetch(sample.value)).blob();
    const headers = { Accept: "application/json, application/problem+json", "Content-Type": "image/jpeg" };
    const answer = await fetch(address(), { method: "POST", headers, body: image });
    text.textContent = `${answer.status} ${answer.statusText}\n${JSON.stringify(await answer.json(), null, 2)}`;
  } catch (error) {
    text.textContent = `The service cannot be reached: ${error.message}`;
  }
}
