// What the theme leaves out for keyboards and screen readers: wide tables that can be scrolled, a name for the search.
addEventListener("load", () => {
  for (const place of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
  }
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
});
