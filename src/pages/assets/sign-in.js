// The page works without this. It keeps the part of the address behind "#", which no server ever sees, and keeps an
// impatient double click from signing in twice.
"use strict";
{
  const form = document.getElementById("sign-in");
  const target = form.elements.namedItem("return_to");
  if (location.hash && !target.value.includes("#")) {
    target.value += location.hash;
  }
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    setTimeout(() => { button.disabled = true; }, 0);
    // Whoever stopped the browser meanwhile may want to try again.
    setTimeout(() => { button.disabled = false; }, 5000);
  });
  // A page that comes back from the browser's memory has its button as it was left.
  addEventListener("pageshow", () => { form.querySelector("button").disabled = false; });
}
