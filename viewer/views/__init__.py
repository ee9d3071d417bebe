"""What is in view, decided without a widget: scene, navigation, contrast, drawing."""
