// Shows why something was not done, or could not be read: the dashboard itself
// keeps that to the browser's console.
(function () {
  "use strict";

  var shown = null; // {box, reading}

  function close() {
    if (shown) {
      shown.box.remove();
      shown = null;
    }
  }

  function show(text, reading) {
    close();
    var box = document.createElement("div");
    box.className = "botfleet-notice";
    box.setAttribute("role", "alert");
    box.textContent = text;
    var button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", "Close");
    button.textContent = "×";
    button.addEventListener("click", close);
    box.appendChild(button);
    document.body.appendChild(box);
    shown = { box: box, reading: reading };
  }

  var open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method) {
    var request = this;
    var reading = String(method).toUpperCase() === "GET";
    request.addEventListener("loadend", function () {
      if (request.status >= 200 && request.status < 400) {
        if (reading && shown && shown.reading) close(); // it can be read again
        return;
      }
      if (request.status === 404 && reading) return; // the page says so itself
      // The answer to whoever is not let in is a page.
      var html = (request.getResponseHeader("Content-Type") || "").indexOf("text/html") === 0;
      var text = request.status === 0 ? "The worker does not answer." : html ? "HTTP " + request.status + ": sign in again, or look at the page anew." : request.responseText;
      if (!(reading && shown && !shown.reading)) show(text, reading);
    });
    return open.apply(request, arguments);
  };
})();
