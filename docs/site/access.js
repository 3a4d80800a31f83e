// Accessibility that the theme lacks: make wide tables scrollable by keyboard, name the search, and hide the landmarks
// of code blocks, which all have the same name.
addEventListener("load", () => {
  for (const place of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
  }
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const hideLandmarks = () => {
    for (const nav of document.querySelectorAll(".md-code__nav:not([role])")) nav.setAttribute("role", "none");
  };
  hideLandmarks();
  new MutationObserver(hideLandmarks).observe(document.body, { childList: true, subtree: true });
});
