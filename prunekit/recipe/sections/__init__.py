"""What a recipe can say: one frozen model a section, each field documented beside itself."""
