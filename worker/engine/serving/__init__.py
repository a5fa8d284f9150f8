"""What is served: a student's folder, written and loaded again."""
