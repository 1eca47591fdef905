"""Plumbline's training half: blend, pack and fine-tune. It has not landed yet."""
