// Fetches the page anew every 5 s and puts what has changed in place of what is
// shown. Not while the tab is hidden, text is selected, or somebody has paused it.
"use strict";

(() => {
  const every = 5000;
  const patience = 8000; // longer than the worker takes when Redis is away
  const fresh = document.getElementById("fresh");
  const trouble = document.getElementById("trouble");
  const pause = document.getElementById("pause");
  let paused = false;
  let timer = 0;
  let asking = false;

  const main = () => document.getElementById("main");

  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const show = () => {
    pause.hidden = false;
    say(pause, paused ? "Resume" : "Pause");
    say(fresh, paused ? `Paused at ${main().dataset.asof}` : "Refreshes every 5 s");
  };

  const selecting = () => {
    const s = document.getSelection();
    return s !== null && !s.isCollapsed && main().contains(s.anchorNode);
  };

  // What has the focus, in words that find it again in another copy of the part.
  const focusIn = (part) => {
    const focused = document.activeElement;
    if (!part.contains(focused) || focused === part) return null;
    const all = [...part.querySelectorAll("a, button")];
    return { href: focused.getAttribute("href"), index: all.indexOf(focused) };
  };

  const refocus = (part, was) => {
    if (was === null) return;
    const all = [...part.querySelectorAll("a, button")];
    const found = all.find((e) => e.getAttribute("href") === was.href) || all[was.index];
    if (found) found.focus({ preventScroll: true });
  };

  const swap = (next) => {
    const now = main();
    const ids = (e) => [...e.children].map((c) => c.id).join(" ");
    const was = focusIn(now);
    if (ids(now) === ids(next)) {
      [...now.children].forEach((part, i) => {
        const other = next.children[i];
        if (part.isEqualNode(other)) return;
        const focus = focusIn(part);
        const copy = document.importNode(other, true);
        part.replaceWith(copy);
        refocus(copy, focus);
      });
    } else {
      now.replaceChildren(...[...next.childNodes].map((n) => document.importNode(n, true)));
      refocus(now, was);
    }
    now.dataset.asof = next.dataset.asof;
  };

  const refresh = async () => {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(patience) });
    if (!answer.ok) throw new Error(`the worker answers with HTTP ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("main");
    if (next === null || next.dataset.assets === undefined) throw new Error("the worker answers with something else");
    if (next.dataset.assets !== main().dataset.assets) {
      location.reload(); // the worker is of another version now
      return;
    }
    if (paused || selecting()) return;
    swap(next);
    if (document.title !== page.title) document.title = page.title;
  };

  const reason = (err) => {
    if (err.name === "TimeoutError") return "the worker does not answer in time";
    if (err.name === "TypeError") return "the worker cannot be reached";
    return err.message;
  };

  const turn = async () => {
    timer = 0;
    if (asking || paused || document.hidden || selecting()) {
      plan();
      return;
    }
    asking = true;
    try {
      await refresh();
      say(trouble, "");
    } catch (err) {
      say(trouble, `What is shown is of ${main().dataset.asof}, and is not refreshed: ${reason(err)}.`);
    }
    asking = false;
    show();
    plan();
  };

  const plan = () => {
    if (timer === 0 && !paused && !document.hidden) timer = setTimeout(turn, every);
  };

  const stop = () => {
    clearTimeout(timer);
    timer = 0;
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    stop();
    show();
    if (!paused) turn();
  });

  document.addEventListener("visibilitychange", () => {
    stop();
    if (!document.hidden && !paused) turn();
  });

  show();
  plan();
})();
