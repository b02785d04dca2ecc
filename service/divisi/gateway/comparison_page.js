/* One player at a time; the next goes on where the last one was. */
let last = null;
const follow = ({ target }) => {
  if (last && last !== target) {
    last.pause();
    if (!last.ended) target.currentTime = last.currentTime;
  }
  last = target;
};
document.addEventListener("play", follow, true);
