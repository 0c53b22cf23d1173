"""Numbers that others have published, as tables; README.md says where each comes from."""
