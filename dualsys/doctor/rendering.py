"""Whether a frame can be rendered without a display, and is not black."""

from __future__ import annotations

import subprocess
import sys

from dualsys.doctor.finding import Finding
from dualsys.environment import rendering_with

BACKENDS = {
    "egl": "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or the GPU's driver",
    "osmesa": "apt-get install libosmesa6",
}
"""In the order in which they are to be used, and what brings each."""

PATIENCE_S = 60.0
SCENE = """<mujoco><worldbody><light pos="0 0 3"/>
<geom type="sphere" size="1" rgba="1 1 1 1"/><camera name="eye" pos="0 -4 0" xyaxes="1 0 0 0 0 1"/>
</worldbody></mujoco>"""


def check() -> list[Finding]:
    """One line for each backend; one that works is enough."""
    found = [backend(name) for name in BACKENDS]
    if any(finding.verdict == "good" for finding in found):
        return found
    remedy = "; or ".join(BACKENDS.values())
    return [*found, Finding("rendering", "bad", "no world with cameras can run", remedy)]


def backend(name: str) -> Finding:
    """Render in a process of its own: a broken driver may end it without a word."""
    what, remedy = f"rendering, {name}", BACKENDS[name]
    words = [sys.executable, "-m", "dualsys.doctor.rendering"]
    try:
        ended = subprocess.run(
            words, env=rendering_with(name), capture_output=True, text=True, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return Finding(what, "weak", f"no frame within {PATIENCE_S:.0f} s", remedy)
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"]
        return Finding(what, "weak", lines[-1][:200], remedy)
    return judged_frame(what, float(ended.stdout), remedy)


def judged_frame(what: str, brightness: float, remedy: str) -> Finding:
    """A frame's mean brightness (0 .. 255) tells whether anything was drawn."""
    if brightness > 1.0:
        return Finding(what, "good", f"a frame of mean brightness {brightness:.0f}")
    return Finding(what, "weak", "the frame is black", remedy)


def brightness() -> float:
    """Render a lit ball and return the frame's mean."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)
    data, renderer = mujoco.MjData(model), mujoco.Renderer(model, 64, 64)
    mujoco.mj_forward(model, data)
    renderer.update_scene(data, "eye")
    found = float(renderer.render().mean())
    renderer.close()
    return found


if __name__ == "__main__":
    sys.stdout.write(str(brightness()))
