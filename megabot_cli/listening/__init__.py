"""What everybody who listens needs: who has not said yet what they want."""
