"""What a network gives and what it costs: PSNR, SSIM, parameters, macs and latency."""
