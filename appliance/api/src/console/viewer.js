// The study page's viewer: wheel, keys, slider and dragging ask for the viewer alone and put it in the place of the one
// before. Without this script the same links and forms bring whole pages.
"use strict";
(() => {
  const viewer = () => document.getElementById("viewer");
  if (!viewer() || !document.getElementById("screen")) return;
  let busy = false;
  let wanted = null;

  // One request at a time; of what is asked for meanwhile only the latest counts.
  async function go(address) {
    wanted = address;
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        const now = wanted;
        wanted = null;
        await put(now);
      }
    } catch {
      window.location.assign(address);
    } finally {
      busy = false;
    }
  }

  async function put(address) {
    const url = new URL(address, window.location.href);
    url.searchParams.set("part", "viewer");
    const answer = await fetch(url, { redirect: "error", credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("viewer");
    const image = next.querySelector("#screen img");
    if (image) {
      // Decoded before it is shown, so that nothing flickers.
      const ready = new Image(image.width, image.height);
      ready.alt = image.alt;
      ready.src = image.getAttribute("src");
      await ready.decode();
      image.replaceWith(ready);
    }
    next.querySelector("#marks").checked = document.getElementById("marks").checked;
    const focused = viewer().contains(document.activeElement) ? name(document.activeElement) : null;
    viewer().replaceWith(document.adoptNode(next));
    if (focused) viewer().querySelector(focused)?.focus({ preventScroll: true });
    url.searchParams.delete("part");
    window.history.replaceState(null, "", url);
  }

  function name(element) {
    if (element.id) return "#" + element.id;
    const label = element.getAttribute("aria-label");
    return label ? `[aria-label="${CSS.escape(label)}"]` : null;
  }

  function address(changes) {
    const url = new URL(window.location.href);
    const form = document.querySelector("#viewer form [name=series]");
    if (form) url.searchParams.set("series", form.value);
    url.searchParams.set("image", viewer().dataset.image);
    for (const [key, value] of Object.entries(changes)) url.searchParams.set(key, value);
    return url.href;
  }

  function step(by) {
    const { image, images } = viewer().dataset;
    const at = Math.min(Math.max(Number(image) + by, 1), Number(images));
    if (at !== Number(image)) go(address({ image: at }));
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-step]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.href);
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches("#viewer input[type=range]")) go(address({ image: event.target.value }));
  });
  document.addEventListener("wheel", (event) => {
    if (!event.target.closest("#screen") || Number(viewer().dataset.images) < 2) return;
    event.preventDefault();
    step(Math.sign(event.deltaY));
  }, { passive: false });
  const keys = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "screen" || !(event.key in keys)) return;
    event.preventDefault();
    step(keys[event.key]);
  });

  // Dragging: to the right is wider, downwards is brighter values in the middle.
  let drag = null;
  document.addEventListener("pointerdown", (event) => {
    const { center, width } = viewer().dataset;
    if (event.button !== 0 || event.pointerType === "touch" || !event.target.closest("#screen") || !width) return;
    event.preventDefault();
    document.getElementById("screen").focus();
    drag = { x: event.clientX, y: event.clientY, center: Number(center), width: Number(width) };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const across = (event.clientX - drag.x) / 200;
    const down = (event.clientY - drag.y) / 200;
    if (Math.abs(across) + Math.abs(down) < 0.02) return;
    const width = drag.width * Math.exp(across);
    const center = drag.center + drag.width * down;
    go(address({ center: center.toPrecision(5), width: width.toPrecision(5) }));
  });
  document.addEventListener("pointerup", () => { drag = null; });
})();
