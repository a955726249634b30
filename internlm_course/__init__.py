"""One small InternLM2 model grows up through the whole open-source chain; see `internlm_course.course.Course`."""
__version__ = '0.1.0'
