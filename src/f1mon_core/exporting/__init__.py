"""What systems that watch other systems are shown: a few numbers with bounded labels."""
