"""What Streamlit has no element for."""
