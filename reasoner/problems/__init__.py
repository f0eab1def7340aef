"""What is asked: generated problems, named sets, files of one's own, and their splits."""
