// Behaviour that HTML cannot have: theme, times in the reader's zone, keys, live parts, messages.
(() => {
  "use strict";
  const root = document.documentElement;
  const year = 31536000;
  const keep = (name, value) => {
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `${name}=${value}; path=/; max-age=${year}; samesite=strict${secure}`;
  };

  // theme ------------------------------------------------------------------
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const switchTheme = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep("inhouse_theme", root.dataset.theme);
  };

  // times: absolute in the reader's zone, relative under an hour -------------
  const two = (n) => String(n).padStart(2, "0");
  const absolute = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const spell = (time) => {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) return;
    const seconds = Math.round((Date.now() - at.getTime()) / 1000);
    const text = time.dataset.form === "short"
      ? `${at.getDate()} ${at.toLocaleString("en", { month: "short" })} ${two(at.getHours())}:${two(at.getMinutes())}`
      : time.dataset.form === "absolute" || seconds < 0 || seconds >= 3600 ? absolute(at)
      : seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = `${absolute(at)} here, ${time.dateTime}`;
  };
  const spellTimes = (part) => part.querySelectorAll("time[datetime]").forEach(spell);

  // messages go after 8 s, not while they are hovered or have the focus -------
  const expire = (toast) => {
    let timer = 0;
    const hold = () => clearTimeout(timer);
    const run = () => { hold(); timer = setTimeout(() => toast.remove(), 8000); };
    toast.addEventListener("pointerenter", hold);
    toast.addEventListener("pointerleave", run);
    toast.addEventListener("focusin", hold);
    toast.addEventListener("focusout", run);
    run();
  };
  const say = (text) => {
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.append(Object.assign(document.createElement("span"), { textContent: text }));
    document.getElementById("toasts").replaceChildren(toast);
    expire(toast);
  };

  // stale: while the server does not answer, the page says how old it is ------------
  let fresh = Date.now();
  const beFresh = () => { fresh = Date.now(); document.getElementById("stale")?.remove(); };
  const beStale = () => {
    if (document.getElementById("stale")) return;
    const banner = Object.assign(document.createElement("div"), { id: "stale", className: "banner is-warn" });
    const words = document.createElement("div");
    const title = document.createElement("strong");
    title.textContent = "The server does not answer.";
    words.append(title, ` What you see is from ${absolute(new Date(fresh))}; it is asked again on its own.`);
    banner.setAttribute("role", "status");
    banner.append(words);
    document.getElementById("main").prepend(banner);
  };

  // live parts: data-events names a stream; each event asks for the part again ---
  const streams = new Map();
  const follow = (part) => part.querySelectorAll("[data-events]").forEach((element) => {
    if (streams.has(element)) return;
    const source = new EventSource(element.dataset.events);
    const kinds = (element.dataset.kinds || "message").split(" ");
    const tell = (event) => {
      element.dispatchEvent(new CustomEvent("live"));
      element.dispatchEvent(new CustomEvent(`live-${event.type}`, { bubbles: true }));
    };
    kinds.forEach((kind) => source.addEventListener(kind, tell));
    source.addEventListener("open", beFresh);
    source.addEventListener("error", () => setTimeout(() => {
      if (source.readyState === EventSource.CONNECTING) beStale();
    }, 5000));
    streams.set(element, source);
  });
  const dropGone = () => streams.forEach((source, element) => {
    if (element.isConnected) return;
    source.close();
    streams.delete(element);
  });

  // logs follow their end until the reader scrolls up ---------------------------
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  const ends = new Set();

  const prepare = (part) => {
    spellTimes(part);
    follow(part);
    part.querySelectorAll(".log").forEach((log) => {
      if (!log.id || !ends.has(log.id)) log.scrollTop = log.scrollHeight;
    });
    part.querySelectorAll(".toast").forEach(expire);
  };

  // dialogs: a <dialog popover> opens without this; with it, it keeps the focus inside -------
  const openModal = (button) => {
    const dialog = document.getElementById(button.getAttribute("popovertarget"));
    if (!(dialog instanceof HTMLDialogElement)) return false;
    if (button.closest("dialog") === dialog) {
      dialog.close();
      return true;
    }
    dialog.addEventListener("close", () => {
      const opener = document.querySelector(`main [popovertarget="${CSS.escape(dialog.id)}"]`);
      if (document.activeElement === document.body) opener?.focus();
    }, { once: true });
    dialog.showModal();
    return true;
  };

  // clicks ------------------------------------------------------------------------
  const copy = async (button) => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    say("Copied");
  };
  const setKeys = (isOn) => {
    if (isOn) delete root.dataset.keys; else root.dataset.keys = "off";
    keep("inhouse_keys", isOn ? "on" : "off");
  };
  document.addEventListener("click", (event) => {
    const found = (name) => event.target.closest(`[${name}]`);
    if (found("popovertarget") && openModal(found("popovertarget"))) event.preventDefault();
    if (found("data-theme-switch")) switchTheme();
    else if (found("data-close")) found("data-close").closest(".toast, .dialog").remove();
    else if (found("data-copy")) copy(found("data-copy")).catch(() => say("The browser does not let this page copy"));
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-keys-switch]")) setKeys(event.target.checked);
  });

  // keys ---------------------------------------------------------------------------
  let leader = 0;
  const rows = () => [...document.querySelectorAll("[data-list] > *")]
    .filter((row) => row.querySelector("a[href]"));
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    next.querySelector("a[href]").focus();
    next.scrollIntoView({ block: "nearest" });
  };
  const search = () => {
    const field = document.querySelector("input[type=search]");
    if (field) field.focus();
    else document.querySelector('.topbar a[href$="#search"]')?.click();
  };
  const acts = {
    "/": search,
    j: () => move(1),
    k: () => move(-1),
    ".": () => document.querySelector(".page-head .btn-set :is(a, button):not([disabled])")?.focus(),
    "?": () => document.getElementById("keys")?.showPopover(),
    g: () => { leader = Date.now(); },
  };
  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (root.dataset.keys === "off" || event.repeat || event.ctrlKey || event.metaKey || event.altKey ||
        isTyping(event.target)) return;
    const key = event.key.toLowerCase();
    const isSecond = Date.now() - leader < 1500;
    leader = 0;
    const link = isSecond && document.querySelector(`.nav a[data-key="${CSS.escape(key.toUpperCase())}"]`);
    const act = link ? () => link.click() : acts[key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // what a reader opened and where the focus is outlives a swap of the part around it ------
  const FOCUSABLE = "a[href], button, summary, input, select, textarea, [tabindex]";
  const held = new Map();
  const hold = (part) => part.id && held.set(part.id, {
    open: [...part.querySelectorAll("details[open] > summary")].map((one) => one.textContent),
    place: [...part.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement),
    words: document.activeElement?.textContent,
    scrolled: [...part.querySelectorAll(".scroll")].map((one) => one.scrollTop),
  });
  const restore = (was, id) => {
    const part = document.getElementById(id);
    held.delete(id);
    if (!part) return;
    part.querySelectorAll("details > summary").forEach((one) => {
      if (was.open.includes(one.textContent)) one.parentElement.open = true;
    });
    part.querySelectorAll(".scroll").forEach((one, index) => { one.scrollTop = was.scrolled[index] ?? 0; });
    const all = [...part.querySelectorAll(FOCUSABLE)];
    const focused = all[was.place]?.textContent === was.words ? all[was.place]
      : all.find((one) => was.place >= 0 && one.textContent === was.words);
    if (part.querySelector("[data-focus]") || document.activeElement !== document.body) return;
    focused?.focus({ preventScroll: true });
  };

  // swaps -----------------------------------------------------------------------------
  document.addEventListener("htmx:beforeSwap", (event) => {
    ends.clear();
    hold(event.target);
    event.target.querySelectorAll(".log[id]").forEach((log) => { if (!atEnd(log)) ends.add(log.id); });
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    dropGone();
    held.forEach(restore);
    prepare(event.target.isConnected ? event.target.parentElement ?? document : document);
    const { elt: asker, triggeringEvent: act } = event.detail.requestConfig ?? {};
    if (act && !asker.isConnected && document.activeElement === document.body) {
      (document.querySelector("[data-focus]") ?? document.getElementById("main")).focus();
    }
  });
  document.addEventListener("htmx:sendError", beStale);
  document.addEventListener("htmx:afterOnLoad", beFresh);

  setInterval(() => spellTimes(document), 15000);
  prepare(document);
  if (location.hash === "#search") search();
})();
