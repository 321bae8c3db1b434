"""What makes a release; CONTRIBUTING.md tells how."""
