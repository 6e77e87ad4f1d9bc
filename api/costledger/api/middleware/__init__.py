"""What every request passes through: its id, its limits, the headers that keep a browser safe."""
