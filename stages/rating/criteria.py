"""What people (`tunetrail rate`) and a teacher (`tunetrail judge`) rate an answer by."""

CRITERIA = ("relevance", "accuracy", "fluency")
