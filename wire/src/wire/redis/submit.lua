return {admit()}
