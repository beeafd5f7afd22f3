"""Fine-tuning: low-rank adapters by unsloth, one path for CPU and CUDA."""
