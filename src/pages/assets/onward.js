// Follows the page's link at once. Without this the browser does so by itself, but loses the part of the address behind
// "#".
"use strict";
location.replace(document.querySelector("a.button").href + location.hash);
