"""What a network gives and what it costs: PSNR-Y, SSIM, parameters, macs and latency."""
