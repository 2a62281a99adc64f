"""The domain expert: continued pre-training and fine-tuning on facts of one field."""
