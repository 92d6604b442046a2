"""Standing questions: they look at evidence as it arrives, and speak up by themselves."""
