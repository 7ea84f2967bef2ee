"""What several methods share: memories of images, anchors on weights, per-image gradients."""
