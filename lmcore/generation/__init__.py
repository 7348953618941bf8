"""Text from a trained model, and the model as a folder that can be moved and opened."""
