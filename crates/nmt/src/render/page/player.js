
/* ---- Frames: how an alignment came to be ---- */

const PACE = 450; // milliseconds a frame is shown
const player = at("player"), slider = at("slider"), play = at("play");
let playing = 0;

/** The frame that is shown, counted from 0; the last one unless the fragment says otherwise. */
const frameOf = s => s.frame === "" ? about.frames.length - 1 : s.frame;

/** Shows a frame. The last one needs no mention in the address. */
function turnTo(frame, trace = true) {
  const last = about.frames.length - 1, wanted = Math.min(Math.max(frame, 0), last);
  go({ frame: wanted === last ? "" : wanted }, trace);
}

function running(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => {
    const next = frameOf(state) + 1;
    if (next < about.frames.length) turnTo(next, false);
    if (next >= about.frames.length - 1) running(false);
  }, PACE) : 0;
  play.textContent = on ? "❚❚" : "▶";
  play.setAttribute("aria-label", on ? "Pause" : "Play");
  play.title = on ? "Pause (space)" : "Play (space)";
}

/** Plays from where it stands, from the beginning if that is the end. */
function toggle() {
  if (!playing && frameOf(state) === about.frames.length - 1) turnTo(0, false);
  running(!playing);
}

function drawPlayer() {
  if (!about.frames.length) return;
  const frame = frameOf(state);
  slider.value = frame;
  slider.setAttribute("aria-valuetext", about.frames[frame]);
  at("frame").textContent = about.frames[frame];
  document.documentElement.dataset.frame = frame;
}

player.hidden = about.frames.length < 2;
slider.max = Math.max(0, about.frames.length - 1);
slider.addEventListener("input", () => { running(false); turnTo(+slider.value, false); });
play.addEventListener("click", toggle);
addEventListener("keydown", event => {
  if (player.hidden || event.target.closest("input, select, button, [role=button], #list")) return;
  if (event.key === " ") { event.preventDefault(); toggle(); }
  else if (event.key === "," || event.key === ".") { running(false); turnTo(frameOf(state) + (event.key === "." ? 1 : -1)); }
});
