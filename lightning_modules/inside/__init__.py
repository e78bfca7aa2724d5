"""What a trained network has learnt to see: its filters, its feature maps, and what its answers depend on."""
