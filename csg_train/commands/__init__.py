"""Commands in modules of their own, which import what is heavy only when they run."""
