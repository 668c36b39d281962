"""What a user checks before asking for help: each check gives findings, each finding its fix."""
