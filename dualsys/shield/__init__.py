"""The shield: the only component that can command the plant, and the ladder it stands on."""
